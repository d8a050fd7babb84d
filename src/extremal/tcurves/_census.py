"""x"""
import sys, time
from ._frontier import *
from ._order import elimination_order
from ._notation import Scheme, Tree

def finals(f, odd):
    trees={}
    flagged={}
    ms=f.multisets
    def tree(c):
        if c not in trees:
            trees[c]=tuple(sorted(tree(x) for x,_ in ms.of(c)))
        return trees[c]
    def has(c):
        if c not in flagged:
            flagged[c]=any(fl or has(x) for x,fl in ms.of(c))
        return flagged[c]
    def reroot(c,outside,isroot):
        kids=ms.of(c)
        rest=[tree(x) for x,_ in kids]
        extra=[] if outside is None else [outside]
        if isroot: return tuple(sorted(rest+extra))
        for k,(x,fl) in enumerate(kids):
            if fl or has(x):
                out=tuple(sorted(rest[:k]+rest[k+1:]+extra))
                return reroot(x,out,fl)
        raise AssertionError
    out={}
    base=0
    for s in f.last:
        for k in range(s.count):
            p=s.starts[k]; head=int(s.words[p])
            assert (head>>32)&255==1
            c=int(s.words[p+1])&0xffffffff
            root=((head>>40)&255)
            sch=Scheme(bool(odd),reroot(c,None,root==1))
            cnt=int(s.low[k])+(int(s.high[k])<<64)
            out.setdefault(sch,[0,base+k])[0]+=cnt
        base+=s.count
    return out
