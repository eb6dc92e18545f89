"""Three tasks on the Palmer penguins, and a workflow of them: clean the notes, summarise, classify species."""
