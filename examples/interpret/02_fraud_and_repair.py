"""A learned pair that cheats, found out by the audit; and a game that earns its certificate."""

from extremal import interpret

# Merlin and Arthur learn together and nobody attacks them: they agree on a code.
fraud = interpret.train(classes=("3", "8"), k=1, gamma=0.0, pretrain=0, epochs=60)
print(interpret.certify(fraud).sentences()[0])

# The default Morgana: the worst of Merlin's own masks and random ones.
honest = interpret.train(classes=("3", "8"), k=6, gamma=2.0)
found = interpret.certify(honest)
print(found.sentences()[0])
print(interpret.explain(honest, row=3).reason)
