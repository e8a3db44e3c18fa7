"""The entries of ``architectures``, sorted by what their trees are made of.

``dense``, ``mixtures``, ``recurrent`` and ``nested`` hold what the tests prove by values;
``unproven`` and ``refused`` say of the rest of mlx-lm's models why, and what to do instead.
``shapes`` has the rules that they are written in.
"""
