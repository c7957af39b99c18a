package proxy

// MemoryLeft returns how much may still be lent to bodies.
func (p *Proxy) MemoryLeft() int64 { return p.memory.left.Load() }
