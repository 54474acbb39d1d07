"""Tensor operations of the engine: one op a file, each with a plain torch reference of the same signature.

An op chooses its implementation by device and by what `native` could load; callers only see the op.
"""
