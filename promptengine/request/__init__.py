"""What a caller asks for and gets back, and which networks a prompt's tags mean."""
