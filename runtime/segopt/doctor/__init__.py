"""What this machine has of all that segopt can use, and what each missing thing would take."""
