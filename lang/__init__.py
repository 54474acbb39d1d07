"""What a program is: parameters, constraints, expressions, nodes, request graph, recorder, tracer and errors."""
