"""Tests of what the server does with Civitai."""
