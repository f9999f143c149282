"""Who does the work of the stages: threads of this process, or workers of Ray (`on_ray`)."""
