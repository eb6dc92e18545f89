"""One attempt, from input to result.

`run` is the spine of a task with a workspace, `free` of one without, `transaction` of the beginning and the end of a
transactional run. `context` has what surrounds an attempt, `phases` tells the observer of it.

- Input: `parse` checks it, `join` finds its commit, `membership` refuses outsiders of a transactional run.
- Body: `body` calls the function, `breakpoints` sees to debuggers, `outputs` are the declared ones.
- Publication: `publication` does the I/O, `fence` decides, `stamp` makes the stamp, `same_outputs` finds what is no
  conflict.
- Result: `output` makes it, `told` makes its events' attributes, `report` tells the engine.
- Run cache: `cached` does the I/O, `cache_key` (with `param_forms`) makes the key, `reuse` decides, `differences` and
  `missed` explain.

Calls store and engine only through callables that are passed in; touches only the attempt's own directory itself.
`compat` is the public function for one attempt.
"""
