#pragma once

#include <string>

#include "cache/names.h"
#include "engine/image.h"

namespace regraft::cache {

// An entry is an engine file without values in which every name is canonical; the key stands in its
// metadata. So it says nothing about the program that made it but its graph, and any engine file
// reader can look into it.

// The entry of an engine's plan, which calls its parts as `names` does, with the choices made for
// this machine. Throws as rename() does.
std::string encode(const std::string& key, const Engine& engine, const Names& names);

// An image with the plan and the realised plan of an entry and the names of another program; the
// rest is to be filled in. Throws Error{Corrupt, Version} for bytes that are not an entry of this
// key.
engine::Image decode(const std::string& key, const std::string& entry, const Names& names);

// Says that the image's realised plan is of the image's plan, after changes that move no choice.
void own_realised(engine::Image& image);

}  // namespace regraft::cache
