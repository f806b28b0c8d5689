// Which parts of the engine the tests of this folder drive.
#ifndef MODEL_FEATURES_H
#define MODEL_FEATURES_H

#define ENGINE_SEPARATES 0
#define ENGINE_TRIMS 0
#define ENGINE_EXPIRES 0
#define ENGINE_STREAMS 0
#define ENGINE_READERS 0
#define ENGINE_ALTERS 0
#define ENGINE_COMPACTS_VALUES 0

#endif
