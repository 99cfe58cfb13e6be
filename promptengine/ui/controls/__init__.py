"""Controls that tabs share."""
