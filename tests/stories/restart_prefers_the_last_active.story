# mainstay was restarted. The list order alone would bring back the backend that was failed over from.
pool by_order last=b
at 1ms a ok
  a health unknown -> up cause=probe (ok)
  a unknown -> eligible
at 2ms b ok
  b health unknown -> up cause=probe (ok)
  b unknown -> eligible
  verdict settling -> switch
  activate b epoch=1 cause=startup
  pace a normal
  pace b normal
expect active b
expect epoch 1
