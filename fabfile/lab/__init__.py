"""Throwaway machines for newcomers and for the tests."""
