"""What needs attention: the state of the installation, its alerts and notifications. Imports scheduling and lower."""
