"""Jobs on a cluster: profiles, submission, what runs on a compute node, and requeues."""
