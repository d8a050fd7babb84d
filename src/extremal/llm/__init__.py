"""llm: prune Hugging Face causal language models in a stream, repair them, save a plain folder."""
