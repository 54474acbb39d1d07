"""The server: an engine in its own process behind HTTP, in our own protocol, OpenAI's and SGLang's."""
