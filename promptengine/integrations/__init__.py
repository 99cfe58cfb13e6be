"""promptengine in other libraries' own idiom."""
