// Which parts of the engine the tests of this folder drive.
#ifndef MODEL_FEATURES_H
#define MODEL_FEATURES_H

#ifndef ENGINE_SEPARATES
#define ENGINE_SEPARATES 1
#endif
#ifndef ENGINE_TRIMS
#define ENGINE_TRIMS 1
#endif
#ifndef ENGINE_EXPIRES
#define ENGINE_EXPIRES 1
#endif
#ifndef ENGINE_STREAMS
#define ENGINE_STREAMS 1
#endif
#ifndef ENGINE_READERS
#define ENGINE_READERS 1
#endif
#ifndef ENGINE_ALTERS
#define ENGINE_ALTERS 1
#endif
#ifndef ENGINE_COMPACTS_VALUES
#define ENGINE_COMPACTS_VALUES 1
#endif

#endif
