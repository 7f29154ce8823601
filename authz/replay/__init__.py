"""What a policy version says to questions that were recorded: replay, candidates, explanations."""
