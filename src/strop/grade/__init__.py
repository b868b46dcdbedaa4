"""One grader, executed everywhere: load, confine, judge, score."""
