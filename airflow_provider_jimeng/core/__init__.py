# SPDX-License-Identifier: Apache-2.0
"""Pure knowledge of the Jimeng API: standard library and pendulum only, no I/O, no clock, no randomness."""
