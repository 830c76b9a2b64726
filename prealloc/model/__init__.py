"""The frozen nouns: task, plan, policy, outcome, events."""
