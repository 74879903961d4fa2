#pragma once

#include <cstddef>

namespace regraft::refit {

// memcpy for memory that is not read again soon: on x86-64 the stores go around the cache, which
// saves reading the destination and keeps the source's lines cached for who reads them next. `to`
// must be 16-byte aligned. Other threads may read what was copied after finish_streaming().
void stream_copy(void* to, const void* from, size_t bytes);
void finish_streaming();

// The same in parallel pieces; smaller copies go through the cache.
void copy_block(void* to, const void* from, size_t bytes);

}  // namespace regraft::refit
