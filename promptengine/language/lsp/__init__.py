"""The prompt language for editors, over the Language Server Protocol. Needs the extra ``lsp``."""
