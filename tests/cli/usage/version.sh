t sonde --version
