"""The one use of Ray: parts of a run on the machines of a cluster. Ray places and watches; files keep what is done."""
