"""What only a GPU can show, in eight minutes: ``tests/gpu/run.sh``. Its small form runs on the CPU, in the tests."""
