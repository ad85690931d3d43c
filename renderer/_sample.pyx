# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
# distutils: extra_compile_args = -O3 -ffp-contract=off
"""The kernel that filters an image over texel footprints; unwrap.py checks the arguments."""

from libc.math cimport floor


cdef inline void cubic_weights(double t, double* weights) noexcept nogil:
    """Catmull-Rom weights (Keys 1981, a = -1/2) of the four samples at -1, 0, 1, 2, for a position t in 0..1."""
    weights[0] = ((-0.5 * t + 1.0) * t - 0.5) * t
    weights[1] = (1.5 * t - 2.5) * t * t + 1.0
    weights[2] = ((-1.5 * t + 2.0) * t + 0.5) * t
    weights[3] = (0.5 * t - 0.5) * t * t


cdef inline int clamp_index(Py_ssize_t index, Py_ssize_t length) noexcept nogil:
    return <int> min(max(index, 0), length - 1)


def sample_footprints(const float[:, :, ::1] image, const double[:, ::1] centres, const double[:, ::1] along_columns,
                      const double[:, ::1] along_rows, const int[::1] counts, float[:, ::1] result):
    """Averages counts[n]^2 bicubic samples, spaced evenly over each parallelogram, into result [N, 3].

    centres, along_columns, along_rows [N, 2]: the footprint's centre and its two sides, (x, y) in pixels of the image.
    """
    cdef Py_ssize_t height = image.shape[0], width = image.shape[1]
    cdef Py_ssize_t n, row, column
    cdef int a, b, i, j, k, count
    cdef double x, y, share, weight, p, q
    cdef double[4] across
    cdef double[4] down
    cdef double[3] total
    cdef int[4] columns
    with nogil:
        for n in range(centres.shape[0]):
            count = counts[n]
            total[0] = total[1] = total[2] = 0.0
            for a in range(count):
                p = (a + 0.5) / count - 0.5
                for b in range(count):
                    q = (b + 0.5) / count - 0.5
                    x = centres[n, 0] + q * along_columns[n, 0] + p * along_rows[n, 0]
                    y = centres[n, 1] + q * along_columns[n, 1] + p * along_rows[n, 1]
                    x = min(max(x, 0.0), <double> width) - 0.5
                    y = min(max(y, 0.0), <double> height) - 0.5
                    column = <Py_ssize_t> floor(x)
                    row = <Py_ssize_t> floor(y)
                    cubic_weights(x - column, across)
                    cubic_weights(y - row, down)
                    for j in range(4):
                        columns[j] = clamp_index(column - 1 + j, width)
                    for i in range(4):
                        k = clamp_index(row - 1 + i, height)
                        for j in range(4):
                            weight = down[i] * across[j]
                            total[0] += weight * image[k, columns[j], 0]
                            total[1] += weight * image[k, columns[j], 1]
                            total[2] += weight * image[k, columns[j], 2]
            share = 1.0 / (count * count)
            for k in range(3):
                result[n, k] = <float> (total[k] * share)
