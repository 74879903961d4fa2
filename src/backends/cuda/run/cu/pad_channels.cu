// Tensors as dense rows of 8 channels, the missing ones 0: an image, and filters that are no
// constant. PARTS: how many.
struct Part {
  const T* from;
  T* to;
  i64 rows, dims[3], strides[3], step, channels;  // step: between channels.
};
struct Args {
  Part parts[PARTS];
};

extern "C" __global__ void __launch_bounds__(256) run(const __grid_constant__ Args a) {
  const u32 images = (u32)a.parts[0].rows,
            all = images + (u32)(PARTS > 1 ? a.parts[PARTS - 1].rows : 0);
  for (u32 i = blockIdx.x * blockDim.x + threadIdx.x; i < all; i += gridDim.x * blockDim.x) {
    const Part& part = a.parts[i < images ? 0 : PARTS - 1];
    const u32 row = i < images ? i : i - images;
    const u32 line = row / (u32)part.dims[2];
    const T* from = part.from + row % (u32)part.dims[2] * part.strides[2] +
                    line % (u32)part.dims[1] * part.strides[1] +
                    line / (u32)part.dims[1] * part.strides[0];
    Pack<T, 8> done;
#pragma unroll
    for (int c = 0; c < 8; ++c) {
      done.items[c].bits = 0;
      if (c < (int)part.channels) done.items[c] = from[c * part.step];
    }
    *(Pack<T, 8>*)(part.to + (i64)row * 8) = done;
  }
}
