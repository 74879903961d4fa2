#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace regraft {

// Where compiled plans are kept, so that a program of the same graph needs no compilation. An entry
// is an engine file without weights and without names: kilobytes, the same for every program of the
// graph. Derive from it to keep entries elsewhere; calls may come from several threads at once.
//
// An Error that a call throws is logged as a warning and counts as a miss; anything else ends the
// compilation. What load() returns need not be trusted: bytes that are not the entry that was saved
// under the key are found out, removed and counted as a miss.
class EngineCache {
 public:
  virtual ~EngineCache() = default;
  // `key` has 32 hexadecimal digits. Nothing: a miss.
  virtual std::optional<std::string> load(const std::string& key) = 0;
  // Replaces what is there.
  virtual void save(const std::string& key, const std::string& entry) = 0;
  // Drops an entry that is of no use.
  virtual void remove(const std::string& key) { static_cast<void>(key); }
};

// Entries as files of one folder, which is made when the first is saved. The entries together never
// take more than `capacity` bytes: the least recently used go first, by the time that each file
// carries. Safe under any number of processes, killed ones included: an entry is there whole or not
// at all. An entry beyond the capacity is not kept.
//
// Calls throw Error{"cache"}: {InvalidArgument} for a key that is not letters, digits, '-' and '_',
// {Io} when the system refuses, {State} when another process holds the folder for seconds.
std::shared_ptr<EngineCache> disk_cache(const std::string& folder, uint64_t capacity);

// What finds a plan again: everything that compilation reads and nothing that it does not. Weight
// values, names and the order of the parameter table do not enter.
struct CacheKey {
  std::string digest;  // 32 hexadecimal digits.
  // The program's own names at the positions that the digest knows.
  std::vector<std::string> parameters;  // In the order in which the graph reads them first.
  std::vector<std::string> inputs;
  std::vector<std::string> outputs;
  std::vector<std::string> symbols;
};

}  // namespace regraft
