"""The three stages. Each does one kind of I/O for one claim and says what came of it; none decides."""
