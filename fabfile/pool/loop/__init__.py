"""Loop pools: on two backing files, which loop devices read and write."""
