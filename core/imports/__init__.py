"""Imports of spreadsheets into tables, and what a person approves of them."""
