"""The parts of the accelerator joined: engines, cache and what gives them their jobs."""
