"""Files and object stores: containers, rows, chat logs."""
