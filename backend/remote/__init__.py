"""Backends elsewhere: clients of our server, of SGLang's native protocol, and of OpenAI-compatible servers."""
