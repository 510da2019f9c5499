"""`homepage loadtest`: open load on a running set by ghz, judged by objectives that teams set."""
