"""The order of trials and configurations, what each is called, and the tables of both."""
