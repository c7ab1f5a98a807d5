"""What a machine should be: one file a noun, each a want, a plan and the tasks."""
