"""Which cases a change can affect: the source of two versions compared, function by function, with what a case runs.

A case is *untouched* if nothing that it can depend on differs between the two versions. The argument. Run a case in
both versions, step by step, beside each other. Both begin in the same state if the modules that they can see executed
the same statements when they were imported (`source_index.ModuleSource.body`), called the same functions meanwhile, and
have the same installed packages and data files. Each next step is a statement of a function. As long as every function
that is entered is the same in both versions, both take the same step, and so enter the same function next. The first
difference, then, must lie in a function that the case enters, or in what those modules execute when they are imported.
So the functions that one version enters are enough, if all of them are unchanged, to know that the other enters the
same.

What is compared. A function, with the functions and lambdas written inside it, its decorators, defaults and
annotations, is one unit: the syntax tree without docstrings, comments and positions. Of a module, everything else that
importing it executes: statements, class bodies, base classes, the *names* of the methods it defines (a new method may
take the place of an inherited one), and decorators and defaults that call something. A function that is added or
removed and whose name means something else, too, counts as a statement. A case depends on the statements of every
module in the import closure, in either version, of what it entered. A statement that can act beyond its own module (a
bare call, an assignment to an attribute or item, a loop, a condition) counts wherever in the package it stands. Data
files in the packages, the dependencies in `pyproject.toml`, and the harness count for every case.

What a case runs once is not always what it runs: a result that is kept, in a cache, a table or an attribute of an
object that cases share, is made by the first case that needs it. So each case is traced in a process that is forked
where the import ended (`traces`), and enters all that it would enter alone. What is entered by the import, and while
the objects that all cases work on are made, counts for every case. Each case is called twice, because a second call may
find what the first one made; compiled regions are run as they are written.

A case that a changed function only builds. What is built is what the calls are given, and those alone are timed. If
the calls enter the same functions in both versions, all of them unchanged, and hold the same objects down to the last
number of every tensor (`input_digest`), they do the same work on the same data, and the case is untouched. For that,
the head is traced as well, with the cases in question. An object that is not known to the digest makes a case touched.

Limits. Code that looks functions up by name in text that is no source (a plug-in's entry point, a configuration file
outside the package), reads its own source, docstrings or line numbers, takes another path at random, after more calls,
or after what another case left behind, or is entered in a thread that Python did not start can escape this.
`--measure-all` measures every case.
"""
