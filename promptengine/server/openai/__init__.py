"""OpenAI's image API over the same jobs, for clients that know no other one."""
