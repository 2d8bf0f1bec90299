"""Figures of an answer that code looks for in what the tools returned."""
