model m
t sonde tokens m -p 'Hi yé
<x>' -p ' '
t sonde tokens m -p 'Hi yo' --rows 'last:2' --add-bos no
