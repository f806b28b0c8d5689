// Faults that are planted on purpose: `if (MUTANT(20))` is never true, but in a build with
// -DSTRATA_MUTANT=20. The table of all of them, with the tests that must catch each, stands in
// docs/testing.md; script/mutants builds and runs it.
#ifndef BASE_MUTANT_H
#define BASE_MUTANT_H

#ifdef STRATA_MUTANT
#define MUTANT(n) ((n) == STRATA_MUTANT)
#else
#define MUTANT(n) false
#endif

#endif
