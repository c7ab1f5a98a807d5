"""The lab: throwaway machines, for newcomers and for the tests."""
