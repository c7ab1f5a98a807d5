"""Outcomes and answers of tasks, and how they are shown: text, tables, JSON, JUnit."""
