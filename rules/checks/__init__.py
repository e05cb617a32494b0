"""One family of rules a file. A rule is `(Case) -> Breach | Within | None`: broken, held, or not applicable."""
